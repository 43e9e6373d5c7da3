"""USES of LogitLab: one folder or file for each verb."""
