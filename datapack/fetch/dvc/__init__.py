"""DVC: keeps a second copy of each bag, and restores a bag when its sources are gone."""
