"""The fuzz run: three tenants and an administrator with random objects on a real control plane. See `run`."""
