select id from product_product where template = any($1)
