"""What ``import face_recognition`` finds where this folder is on Python's path: it lets the package take its place."""

import sys

from visavis.compat.face_recognition import install

del sys.modules[__name__]
install()
