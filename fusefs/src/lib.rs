//! The mount of vaultfs.
