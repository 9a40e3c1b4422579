//! Counts that must not be mixed: sixteen addresses are one prefix.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! quantities {
    ($($(#[$doc:meta])* $name:ident, $one:literal, $many:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// None of them.
            pub const ZERO: Self = Self(0);

            /// The sum, at most `u32::MAX`.
            #[must_use]
            pub fn plus(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }

            /// The difference, at least zero.
            #[must_use]
            pub fn minus(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }

            /// Whether there are none.
            #[must_use]
            pub fn is_zero(self) -> bool {
                self.0 == 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} {}", self.0, if self.0 == 1 { $one } else { $many })
            }
        }
    )*};
}

quantities! {
    /// A number of single addresses.
    Addresses, "address", "addresses";
    /// A number of /28 prefixes, 16 addresses each.
    Prefixes, "prefix", "prefixes";
}

impl Prefixes {
    /// Addresses in one /28 prefix.
    pub const SIZE: u32 = 16;

    /// How many prefixes are needed to hold `addresses`.
    #[must_use]
    pub fn holding(addresses: Addresses) -> Self {
        Self(addresses.0.div_ceil(Self::SIZE))
    }

    /// The addresses in these prefixes.
    #[must_use]
    pub fn addresses(self) -> Addresses {
        Addresses(self.0.saturating_mul(Self::SIZE))
    }
}
