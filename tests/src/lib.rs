//! What the fault-injection tests share: the misbehaving specimen.
