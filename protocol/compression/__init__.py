"""Compression of messages: the formats of [MS-XCA] and LZ4, and the transform around them.

Sans-IO like `crypto`: bytes in, bytes out. What takes long is a generator that yields now and
then, so that the loop's other clients have their turns.
"""
