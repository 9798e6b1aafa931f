"""The record of an ingress: what information governance keeps about data that enters a Trusted Research Environment."""
