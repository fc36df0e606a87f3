//! The workbench of vaultfs.
