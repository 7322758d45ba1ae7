"""CloudPayments as a source: `adapter` verifies and translates notices, `customer_receipt` reads the lines in them."""

from app.acquirers.cloudpayments.adapter import CloudPaymentsAdapter as PLUGIN

__all__ = ["PLUGIN"]
