"""What LogitLab is USED for: one folder or file for each verb."""
