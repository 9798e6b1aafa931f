"""COCO files: read row by row, whatever their size, and cut to some of their images."""
