//! Images of registries and files.
