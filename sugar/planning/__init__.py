"""What a training needs, before it is launched: parameters, memory, operations, time, storage."""
