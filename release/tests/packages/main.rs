//! The distributions' packages, made by nfpm of programs that pretend, and judged by the distributions' tools.

mod building;
mod fixture;
mod linting;
mod ordering;
mod signing;
mod unit;
