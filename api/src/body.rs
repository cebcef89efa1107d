//! Bodies as they were before somebody compressed them, and never larger than they may be.
