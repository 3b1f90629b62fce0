//! Specification of the container images: what is written, what the gates find in bytes that are wrong, and how an
//! engine and an emulator get along with it.

mod bill;
mod broken;
mod dockerfile;
mod fixture;
mod gates;
mod layout;
mod trial;
