"""What one does with the numbers: intervals, contrasts, pooling, tables, plots and files."""
