//! Fixed names: those of keyfob itself, and the macro for enums whose values have names.

/// The name under which the engine itself acts, in events and as the author of an end.
pub const ENGINE: &str = "keyfob";
/// The name of the admin socket in events and in `opened_by`. No client can have it: that client would own
/// the sessions opened through the socket.
pub const ADMIN_SOCKET: &str = "admin.sock";
/// The client of the sessions of the operator's console, which is not registered; also the name under which
/// an operator acts there.
pub const CONSOLE: &str = "console";

/// Defines an enum whose values have fixed names: `ALL`, `as_str`, `AsRef<str>` and `FromStr`.
macro_rules! names {
    (
        $(#[$attribute:meta])*
        pub enum $type:ident { $($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)? }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $($(#[$doc])* $variant),+ }

        impl $type {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name in the API and in the configuration.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                self.as_str()
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
