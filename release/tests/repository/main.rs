//! Repositories, site bundle and installer as the programs of their users see them: apt, dnf, rpm, gpgv, sh.
//!
//! Nothing here needs root; the trials in roots of their own are part of the rehearsal. Packages are made on the spot by
//! the distributions' own tools and hold next to nothing.

mod apt;
mod fixture;
mod installer;
mod openpgp;
mod published;
mod site_bundle;
mod yum;
