"""What a downstream job is without its network: cost, results per item, what it is used with. Light: numpy at most."""
