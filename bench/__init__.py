"""The toolkit beside docker compose and Ansible, on the same ten containers of one host."""
