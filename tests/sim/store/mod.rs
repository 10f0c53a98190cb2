//! The lease table: what DynamoDB would hold, and how it answers.
//!
//! | file | part |
//! |---|---|
//! | `table.rs` | rows with their recent past, conditional writes |
//! | `request.rs` | the way of a request to the table and of its answer back, and what goes wrong on it |
//! | `legacy.rs` | the two tables of KCL 3.0 to 3.4 |
//! | `port.rs` | `LeaseStore` on top of that |

mod legacy;
mod port;
mod request;
mod table;

pub use legacy::{Legacy, legacy_key};
pub use request::SimStore;
pub use table::Table;
