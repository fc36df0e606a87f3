//! vaultfs.
fn main() {}
