"""Three services that work together: storefront, orders, notifications."""
