"""Transfer to detection with detectron2: the filter in front of its models, data of one's own."""
