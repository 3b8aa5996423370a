"""Which pretrained Keras backbone, frozen how deep, or is your own small CNN enough?"""
