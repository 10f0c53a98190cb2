//! Real children, by topic.

mod dialogue;
mod ends;
mod load;
mod logs;
mod older;
mod timeouts;
