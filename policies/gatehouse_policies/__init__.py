"""The policies that come with Gatehouse: one file each, using nothing that a third party's could not."""
