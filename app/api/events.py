"""The neutral event: any CRM reports a payment or refund here, as often as it likes, and gets one receipt."""



