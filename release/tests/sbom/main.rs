//! Bills of materials, licences and provenance: what they say of a small tree with all kinds of crates, what they say
//! of the real one, and what each gate says of a bad example.

mod documents;
mod fixture;
mod inventory;
mod licences;
mod materials;
mod native;
mod provenance;
mod real_tree;
