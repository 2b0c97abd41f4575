"""Stores for servers: async twins and Arrow Flight."""
