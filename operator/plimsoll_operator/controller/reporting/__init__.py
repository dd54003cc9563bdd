"""What is written for people to read: status and conditions of every kind of ours, and Events. Decides nothing."""
