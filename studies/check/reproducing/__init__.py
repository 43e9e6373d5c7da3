"""The smallest input that fails, and a program that shows the failure without LogitLab."""
