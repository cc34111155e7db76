select k.id
  from product_component c
  join product_product k on k.id = c.parent_product or (k.template = c.parent_template and c.parent_product is null)
 where c.product = any($1)
