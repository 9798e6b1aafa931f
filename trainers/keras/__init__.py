"""The detectors of KerasHub, trained with TensorFlow. Importing this package imports both of them, quietly."""

from trainers.keras.startup import import_tensorflow

import_tensorflow()
