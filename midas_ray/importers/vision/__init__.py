"""The public archive of Binance (data.binance.vision): files of days and months, straight into clean tables."""
