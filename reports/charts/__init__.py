"""What every chart shares: colours, scales, sizes, line styles."""
