//! Placeholder of delivery.
