//! Ready-made actors for Watertight.
