"""The kit against its peers: same work, same data, same process."""
