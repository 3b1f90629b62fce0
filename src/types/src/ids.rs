//! Identifiers of clusters, members and leases.

use std::fmt;

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:x}", self.0)
            }
        }
    };
}

hex_id! {
    /// A cluster: the first eight bytes of SHA-1 over its sorted member ids (etcd's rule). Shown in hexadecimal.
    ClusterId
}
hex_id! {
    /// A member, never 0: the first eight bytes of SHA-1 over its peer URLs and the cluster token. Shown in hexadecimal.
    MemberId
}

/// A lease, as clients name it (`LeaseGrantRequest.ID`): positive; 0 stands for "no lease". Shown in hexadecimal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

impl LeaseId {
    /// The value that stands for "no lease" on the wire.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
