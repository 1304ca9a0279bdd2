-- One database for each service: their tables, outboxes and inboxes are nobody else's.
CREATE DATABASE orders;
CREATE DATABASE notifications;
