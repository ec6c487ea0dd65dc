"""What every room uses: whole files, processes, progress, seeds, errors."""
