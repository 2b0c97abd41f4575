"""What every question starts from: places, names, lanes, segments that were found and opened."""
