"""CRM-Kassa: the receipt gateway between a CRM and a fiscal cash register."""

__version__ = "0.1.0"
