"""How good detections are, by COCO's measures; numpy only."""
