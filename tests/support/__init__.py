"""What several tests share: references, cases, columns that are watched."""
