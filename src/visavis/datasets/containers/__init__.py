"""Files that hold many photos: .bin, .rec, .tfrecord, tar shards and folders, read and written as a stream."""
