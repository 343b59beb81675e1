//! Fixed names: those of keyfob itself, and the macro that gives an enum its names in the API.

/// The name under which the engine itself acts, in events and as the author of an end.
pub const ENGINE: &str = "keyfob";
/// The name of the admin socket in events and in `opened_by`. No client can have it: that client would own
/// the sessions opened through the socket.
pub const ADMIN_SOCKET: &str = "admin.sock";

/// Gives an enum `ALL`, `as_str` and `FromStr`.
macro_rules! names {
    ($type:ident { $($variant:ident = $name:literal),+ $(,)? }) => {
        impl $type {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name in the API and in the configuration.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl std::str::FromStr for $type {
            type Err = crate::domain::malformed::Malformed;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text { $($name => Ok(Self::$variant),)+ _ => Err(crate::domain::malformed::Malformed) }
            }
        }
    };
}
pub(crate) use names;
