//! Container images as an OCI layout: a folder, and the same as one file, written without a daemon, root or network.
//!
//! An index with one image for each architecture, each from scratch: [`rootfs`] and, for programs that are linked
//! dynamically, [`runtime`]. The bills of materials of an image refer to it by digest and lie beside it, both as the
//! referrers of the OCI specifications 1.1 and under the tags that registries without them understand.
//! Contract: equal inputs give equal bytes. [`gates`] reads the bytes back and trusts none of this.
//!
//! Left out: signatures of images (the release signs the file with the layout, and its provenance, which names the images,
//! is made when they are finished), pushing to a registry.

mod annotations;
mod archive;
mod bill;
mod blobs;
pub mod gates;
mod layout;
mod rootfs;
mod runtime;
pub mod spec;
mod write;

pub use annotations::{Facts, REF_NAME, RUNTIME};
pub use archive::{images_in_archive, unpack_archive, write_archive};
pub use bill::{AUTHORITIES_CRATE, BILL_TYPES, Parts, bills};
pub use layout::Layout;
pub use rootfs::{CA_BUNDLE, DATA_FOLDER, PROGRAMS, STATE_FOLDER, USER_ID};
pub use runtime::{Linkage, Runtime};
pub(crate) use write::is_fallback_tag;
pub use write::{Attachment, Image, Written, fallback_tag, image_tag, write_layout};
